# Waits until the program that started it leaves the server or dies, then leaves in its place; the last
# one out stops the server. Standard input is a pipe whose other end only that program holds, so it ends
# however the program does: normally, by panic, by SIGKILL.
#
# $1 server directory   $2 the program's entry in $1/users   $3 keep | remove   $4 seconds to linger
dir=$1 entry=$2 mode=$3 linger=$4

# Whether $pid is the server of this directory: a process id alone may have been reused.
alive() {
    [ -n "$pid" ] || return 1
    if [ -d /proc/self ]; then
        [ "/proc/$pid/cwd" -ef "$dir/data" ]
    else
        case $(ps -o stat= -o comm= -p "$pid" 2>/dev/null) in
            Z*) return 1 ;;
            *postgres*) return 0 ;;
            *) return 1 ;;
        esac
    fi
}

# Whether $initdb still runs and works in this directory.
preparing() {
    [ -n "$initdb" ] || return 1
    case $(tr '\0' ' ' <"/proc/$initdb/cmdline" 2>/dev/null || ps -o args= -p "$initdb" 2>/dev/null) in
        *initdb*"$dir"*) return 0 ;;
        *) return 1 ;;
    esac
}

server_pid() { head -n 1 "$dir/data/postmaster.pid" 2>/dev/null; }

read -r _

rm -f "$dir/users/$entry"
[ "$linger" = 0 ] || sleep "$linger"
# Removes only an empty directory, and only for one caller: this is the decision who is the last one out.
rmdir "$dir/users" 2>/dev/null || exit 0

# Killed while initdb was at work: it is told to give up, with the servers it runs (its process group).
initdb=$(cat "$dir/initdb-pid" 2>/dev/null)
if preparing; then
    kill -TERM -- "-$initdb" 2>/dev/null
    ticks=0
    while preparing && [ "$ticks" -lt 100 ]; do
        sleep 0.05
        ticks=$((ticks + 1))
    done
fi
rm -f "$dir/initdb-pid"

pid=$(server_pid)
if [ -z "$pid" ] && [ -d "$dir/data" ]; then
    # Killed in the middle of a start: the server may be about to write its pid.
    sleep 1
    pid=$(server_pid)
fi
socket_dir=$(cat "$dir/socket-dir" 2>/dev/null)

if alive; then
    if [ "$mode" = keep ]; then signal=INT; else signal=QUIT; fi
    kill -"$signal" "$pid" 2>/dev/null
    ticks=0
    while alive && [ "$ticks" -lt 12000 ]; do
        sleep 0.05
        ticks=$((ticks + 1))
        if [ "$mode" = remove ] && [ "$ticks" -eq 200 ]; then kill -KILL "$pid" 2>/dev/null; fi
    done
fi

case $socket_dir in
    */buffetbot-db-s-*)
        rm -f "$socket_dir"/.s.PGSQL.*
        rmdir "$socket_dir" 2>/dev/null
        ;;
esac

if [ "$mode" = remove ]; then
    # Renamed first: whoever wants the name next need not wait, and never sees half a directory.
    gone=$dir.gone-$$
    mv "$dir" "$gone" 2>/dev/null || gone=$dir
    tries=0
    until rm -rf "$gone" 2>/dev/null || [ "$tries" -ge 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
fi
