#!/bin/sh
# The generated parts of README.md: the output of demo/tour.sql and the tables of
# settings and functions.
#
#   setup/readme.sh update     put fresh ones in
#   setup/readme.sh check      say for each whether it is fresh ('ok - ...')
#
# A part stands between <!-- part: NAME --> and <!-- end -->. Needs the environment
# to point to a running cluster.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/setup/common.sh"

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
export PGOPTIONS='-c client_min_messages=warning -c timezone=UTC'
export PGTZ=UTC

psql -qX -d postgres -c 'DROP DATABASE IF EXISTS artery_readme' -c 'CREATE DATABASE artery_readme' 2>/dev/null
export PGDATABASE=artery_readme
psql -qX -c 'CREATE EXTENSION artery'

# Everything psql reads and prints, cut at the lines '-- block: NAME'.
psql -Xa -v ON_ERROR_STOP=1 -f "$top/demo/tour.sql" >"$fresh/tour" 2>&1 || { cat "$fresh/tour" >&2; exit 1; }
awk -v folder="$fresh" '
    /^-- block: / { name = $3; blank = 0; print "```sql" > (folder "/part." name); next }
    name == ""    { next }
    /^$/          { blank++; next }
                  { for (; blank > 0; blank--) print "" > (folder "/part." name)
                    print > (folder "/part." name) }
' "$fresh/tour"
for part in "$fresh"/part.*; do echo '```' >>"$part"; done
psql -qXAt -v ON_ERROR_STOP=1 -v folder="$fresh" -f "$top/setup/readme.sql"

perl - "$top/README.md" "$fresh" "$1" <<'END'
use strict;
use warnings;
my ($file, $folder, $do) = @ARGV;
local $/;
open my $in, '<', $file or die "$file: $!";
my $text = <$in>;
my $bad = 0;
my %seen;
$text =~ s{(<!-- part: (\w+) -->\n)(.*?)(<!-- end -->)}{
    my ($head, $name, $old, $tail) = ($1, $2, $3, $4);
    open my $part, '<', "$folder/part.$name" or die "README.md has a part \"$name\" that nothing makes\n";
    my $new = <$part>;
    $seen{$name} = 1;
    if ($do eq 'check') {
        print $new eq $old ? "ok" : "not ok", " - README.md: $name\n";
        differ($old, "$folder/part.$name") if $new ne $old;
    }
    "$head$new$tail"
}gse;
# What is not fresh, and how to mend it.
sub differ {
    my ($old, $new) = @_;
    open my $out, '|-', 'diff', '-u', '--label', 'README.md', '--label', 'fresh', '-', $new or die $!;
    print $out $old;
    close $out;
    print "    'make readme' puts fresh ones in\n";
}
for my $part (glob "$folder/part.*") {
    my ($name) = $part =~ /\.(\w+)$/;
    next if $seen{$name};
    print "not ok - README.md has no part \"$name\"\n";
}
if ($do eq 'update') {
    open my $out, '>', $file or die "$file: $!";
    print $out $text;
}
END
