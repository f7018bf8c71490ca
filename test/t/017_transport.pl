# What can happen to a request below HTTP, and answers as nobody else writes them:
# nobody listens, no such host, no trust, broken connections, old and odd forms of HTTP.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use IO::Socket::INET;
use POSIX qw(strftime);
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;
use ArteryTest qw(new_cluster add_tenant poll_until queue_budget state_of move_clock);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('transport', conf => "artery.http_connect_timeout = 2s\nartery.http_timeout = 8s\n");
my $folder = PostgreSQL::Test::Utils::tempdir();
my $offset = 0;
my @children;

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub later { $offset += $_[0]; return move_clock($node, $offset, $fake) }
sub outcomes { return sql("SELECT string_agg(outcome, ' ' ORDER BY history_id) FROM artery.ad_change_history WHERE change_id = '$_[0]'") }
sub field { my ($id, $field) = @_; return sql("SELECT $field FROM artery.ad_change WHERE change_id = '$id'") }

sub point_to
{
	my ($base) = @_;
	$node->append_conf('postgresql.conf', "artery.meta_base_url = '$base'");
	return $node->reload;
}

# A server of one's own: CODE gets the socket and the request (method, object, body) and says whether to go on.
sub serve
{
	my ($code) = @_;
	my $listener = IO::Socket::INET->new(Listen => 50, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die "could not listen: $!";
	my $pid = fork // die "could not fork: $!";

	if ($pid == 0)
	{
		local $SIG{CHLD} = 'IGNORE';
		while (my $socket = $listener->accept)
		{
			my $child = fork // POSIX::_exit(1);
			next if $child;
			close $listener;
			while (my $request = read_request($socket)) { last unless $code->($socket, @$request) }
			POSIX::_exit(0);
		}
		POSIX::_exit(0);
	}
	push @children, $pid;
	return 'http://127.0.0.1:' . $listener->sockport;
}

sub read_request
{
	my ($socket) = @_;
	my ($head, $body) = ('', '');

	while ($head !~ /\r\n\r\n$/)
	{
		return unless sysread $socket, $head, 1, length $head;
	}
	my ($length) = $head =~ /^Content-Length: (\d+)/mi;
	sysread $socket, $body, $length, 0 if $length;
	return [ $head =~ m{^(\w+) /v25\.0/([^? ]+)}, $body ];
}

END { local $?; kill 'TERM', @children if @children }

# Nobody listens, no such host, another language than TLS: certainly not sent, so tried again, and nothing is in doubt.
add_tenant($node, 'acme');
my ($port) = $fake->base =~ /:(\d+)$/;
my %nowhere = (refused => [ 'http://127.0.0.1:9', qr/connect/i ], unknown => [ 'https://artery.invalid', qr/resolve|timeout/i ],
	plain => [ "https://127.0.0.1:$port", qr/SSL|TLS/i ]);
my %change;
for my $name (sort keys %nowhere)
{
	point_to($nowhere{$name}[0]);
	$fake->add_adset($name, 10000);
	$change{$name} = queue_budget($node, 'acme', $name, 100, 110);
	poll_until(sub { outcomes($change{$name}) =~ /retry/ }, "$name: to be tried again");
	like(field($change{$name}, 'last_error'), $nowhere{$name}[1], "$name: says why");
	is(field($change{$name}, 'state || failures'), 'approved1', "$name: one attempt is spent");
	is(sql("SELECT count(*) FROM artery.campaign_action WHERE campaign_id = 'c$name'"), '0', "$name: no place is taken");
}
point_to($fake->base);
later(100);
for my $name (sort keys %nowhere)
{
	poll_until(sub { state_of($node, $change{$name}) eq 'completed' }, "$name: sent when somebody answers");
	is_deeply([ $fake->changes($name) ], [11000], "$name: once");
}

# Five times in vain: failed, and revived by hand.
point_to('http://127.0.0.1:9');
$fake->add_adset('never', 10000);
my $never = queue_budget($node, 'acme', 'never', 100, 110);
for my $try (1 .. 4)
{
	poll_until(sub { field($never, 'failures') eq $try }, "attempt $try");
	later(1300);
}
poll_until(sub { state_of($node, $never) eq 'failed' }, 'after five attempts it is failed');
is(sql("SELECT failures, last_error, approved_by FROM artery.v_failed_changes WHERE change_id = '$never'"),
	"5|Couldn't connect to server|boss", 'and listed');
point_to($fake->base);
sql("SELECT artery.retry_ad_change('acme', '$never')");
poll_until(sub { state_of($node, $never) eq 'completed' }, 'whoever revives it has it sent');
is(sql("SELECT count(*) FROM artery.v_failed_changes"), '0', 'and none is listed any more');

# A certificate that nobody vouches for: nothing of us goes out; another address is tried at once.
my $pem = "$folder/pem";
system("openssl req -x509 -newkey rsa:2048 -nodes -keyout $pem.key -out $pem.crt -days 2 -subj /CN=localhost 2>/dev/null") == 0
	or die 'could not make a certificate';
my $free = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
my $tls = fork // die "could not fork: $!";
if ($tls == 0)
{
	open STDIN, '<', '/dev/null';
	open STDOUT, '>', "$folder/tls.log";
	open STDERR, '>&', \*STDOUT;
	exec 'openssl', 's_server', '-accept', "127.0.0.1:$free", '-key', "$pem.key", '-cert', "$pem.crt", '-WWW' or die;
}
push @children, $tls;
poll_until(sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$free") }, 'a server of its own authority listens');
point_to("https://localhost:$free");
$fake->add_adset('trust', 10000);
my $trust = queue_budget($node, 'acme', 'trust', 100, 110);
poll_until(sub { state_of($node, $trust) eq 'blocked' }, 'whom nobody vouches for gets nothing');
is(sql("SELECT blocked_rule, next_allowed_at BETWEEN artery.now() + interval '10 minutes' AND artery.now() + interval '20 minutes', failures
	FROM artery.v_pending_changes WHERE change_id = '$trust'"), 'configuration|t|0', 'it waits for other settings, and says until when at most');
is(sql("SELECT kind FROM artery.v_alerts"), 'configuration', 'somebody is told');
unlike(slurp_file("$folder/tls.log"), qr/FILE:/, 'it got no request');
point_to($fake->base);
poll_until(sub { state_of($node, $trust) eq 'completed' }, 'another address is tried at once', 5);
is(sql("SELECT count(*) FROM artery.v_alerts"), '0', 'which ends the alert');

# Every form of an answer that HTTP allows, and some it does not.
my $date = strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime(time + 900));

sub budget_now { return -e "$folder/set-$_[0]" ? 11000 : 10000 }
sub plain { my ($status, $body, %header) = @_;
	return "HTTP/1.1 $status X\r\n" . join('', map { "$_: $header{$_}\r\n" } keys %header) . 'Content-Length: ' . length($body) . "\r\n\r\n$body" }

my %form = (
	old => sub { my $body = shift; return ("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n$body", 0) },
	chunked => sub { my $body = shift; my $half = int(length($body) / 2); return ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		. join('', map { sprintf("%x;x=1\r\n%s\r\n", length, $_) } substr($body, 0, $half), substr($body, $half)) . "0\r\nX-After: 1\r\n\r\n", 1) },
	closing => sub { return (plain(200, shift, Connection => 'close'), 0) },
	number => sub { return (plain(200, shift =~ s/"(\d+)"/$1/r), 1) },
	hundred => sub { return ("HTTP/1.1 100 Continue\r\n\r\n" . plain(200, shift), 1) },
	spaced => sub { return (plain(200, " \n\t" . shift() . "\n"), 1) });
# What a write is answered, where it is not the common success.
my %written = (bare => 'true', nothing => '', node => '{"id":"x","success":true}', words => '{"success":"true"}', list => '[{"success":true}]');

my $base = serve(sub {
	my ($socket, $method, $object, $body) = @_;
	my $name = $object =~ s/\d+$//r;

	if ($name eq 'away' && $method eq 'GET')
	{
		syswrite $socket, "HTTP/1.1 302 Found\r\nLocation: /v25.0/old1\r\nContent-Length: 0\r\n\r\n";
		return 1;
	}
	if ($name eq 'later' && $method eq 'GET' && !-e "$folder/late")
	{
		open my $mark, '>', "$folder/late";
		syswrite $socket, plain(503, '', 'retry-after' => $date);
		return 1;
	}
	if ($method eq 'POST')
	{
		open my $mark, '>', "$folder/set-$name";
		open my $log, '>>', "$folder/posts";
		syswrite $log, "$name $body\n";
	}
	if ($name eq 'short' && $method eq 'POST')
	{
		syswrite $socket, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"success\":";
		return 0;
	}
	my $answer = $method eq 'POST' ? $written{$name} // '{"success":true}'
		: sprintf('{"daily_budget":"%d","lifetime_budget":"0","status":"ACTIVE","account_id":"1","id":"x","more":[{}]}', budget_now($name));
	my ($bytes, $goes_on) = ($form{$name} // $form{spaced})->($answer);
	syswrite $socket, $bytes;
	return $goes_on });

point_to($base);
my @forms = (sort(keys %form), sort(keys %written), 'short');
$change{$_} = queue_budget($node, 'acme', "${_}1", 100, 110) for @forms, 'away', 'later';
for my $name (@forms)
{
	poll_until(sub { state_of($node, $change{$name}) eq 'completed' }, "$name: completed", 30);
	my @posts = grep { /^$name / } split /\n/, slurp_file("$folder/posts");
	is_deeply(\@posts, ["$name daily_budget=11000"], "$name: written once");
}
like(outcomes($change{$_}), qr/unknown reconciled/, "$_: what says nothing is found out by reading") for qw(bare nothing words list short);
poll_until(sub { outcomes($change{away}) =~ /retry/ }, 'away: to be tried again');
like(field($change{away}, 'last_error'), qr/status 302/, 'away: redirections are not followed');
poll_until(sub { outcomes($change{later}) =~ /retry/ }, 'later: to be tried again');
is(field($change{later}, "run_at BETWEEN artery.now() + interval '850 seconds' AND artery.now() + interval '960 seconds'"), 't',
	'later: Retry-After may be a date');
later(1000);
poll_until(sub { state_of($node, $change{later}) eq 'completed' }, 'later: sent then');

# The write is refused after the read: certainly not applied, no place taken, tried again.
my $reader = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die;
point_to('http://127.0.0.1:' . $reader->sockport);
$change{gone} = queue_budget($node, 'acme', 'gone1', 100, 110);
my $socket = $reader->accept;
my $asked = read_request($socket);
is("@$asked[0, 1]", 'GET gone1', 'a budget is read');
close $reader;
syswrite $socket, plain(200, '{"daily_budget":"10000","status":"ACTIVE","account_id":"1"}', Connection => 'close');
close $socket;
poll_until(sub { outcomes($change{gone}) =~ /retry/ }, 'when nobody listens any more, the write is tried again');
unlike(outcomes($change{gone}), qr/unknown/, 'and is not in doubt');
is(sql("SELECT count(*) FROM artery.campaign_action WHERE campaign_id = 'cgone1'"), '0', 'its place is free again');

$node->stop;
$fake->stop;
done_testing();
