#!/usr/bin/perl
# Run TAP test files and say how many assertions passed, failed and were
# skipped, as the last line: 'counts: P F S'.
#
#   setup/tap.pl [--exec 'psql ...'] FILE...
use strict;
use warnings;
use Getopt::Long;
use TAP::Harness;

my $exec;
GetOptions('exec=s' => \$exec) or exit 2;

my @skipped;
my $harness = TAP::Harness->new({
    timer     => 1,
    failures  => 1,
    # psql has only its output to say why a test failed.
    $exec ? (comments => 1, exec => [ split ' ', $exec ]) : (),
});
$harness->callback(made_parser => sub {
    my ($parser, $job) = @_;
    my $file = ref $job ? $job->[0] : "$job";
    $parser->callback(test => sub {
        my $test = shift;
        push @skipped, "$file: " . $test->explanation if $test->has_skip;
    });
    $parser->callback(plan => sub {
        my $plan = shift;
        push @skipped, "$file: " . ($plan->explanation || 'no reason given') if $plan->has_skip;
    });
});

my $results = $harness->runtests(@ARGV);
my ($failed, $passed) = (0, 0);
for my $file ($results->descriptions) {
    my ($parser) = $results->parsers($file);
    my $bad = $parser->failed;
    # A file that died or lost count fails once even if each assertion passed.
    $bad = 1 if !$bad && $parser->has_problems;
    $failed += $bad;
    $passed += $parser->actual_passed - $parser->skipped;
}
print "skipped $_\n" for @skipped;
printf "counts: %d %d %d\n", $passed, $failed, scalar @skipped;
exit($failed ? 1 : 0);
