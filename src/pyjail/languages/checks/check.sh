set -eu
read -r mode
case $mode in
hello) echo hello ;;
stdin)
    sum=0
    while read -r line; do for number in $line; do sum=$((sum + number)); done; done
    echo "$sum"
    ;;
exception)
    echo "as asked" >&2
    exit 1
    ;;
memory)
    kept=x
    while :; do kept=$kept$kept; done
    ;;
threads)
    work() {
        local sum=0 i
        for ((i = 0; i < 1000; i++)); do sum=$((sum + i)); done
        echo "$sum"
    }
    total=0
    while read -r sum; do total=$((total + sum)); done < <(for _ in 1 2 3 4; do work & done; wait)
    echo "$total"
    ;;
cpus) env -u OMP_NUM_THREADS nproc ;;
esac
