use strict;
use warnings;

chomp(my $mode = <STDIN>);
if ($mode eq "hello") {
    print "hello\n";
} elsif ($mode eq "stdin") {
    my $sum = 0;
    while (<STDIN>) { $sum += $_ for split; }
    print "$sum\n";
} elsif ($mode eq "exception") {
    die "as asked";
} elsif ($mode eq "memory") {
    my @kept;
    push @kept, "x" x 2**20 . @kept while 1;
} elsif ($mode eq "threads") {
    my $sum = 0;
    my @pipes;
    for (1 .. 4) {
        my $pid = open(my $pipe, "-|") // die "fork: $!";
        if (!$pid) { my $mine = 0; $mine += $_ for 0 .. 999; print $mine; exit; }
        push @pipes, $pipe;
    }
    $sum += <$_> for @pipes;
    print "$sum\n";
} elsif ($mode eq "cpus") {
    print `env -u OMP_NUM_THREADS nproc`;
}
