# Waits until the program that started it leaves the server or dies, then leaves in its place; the last
# one out stops the server. Standard input is a pipe whose other end only that program holds, so it ends
# however the program does: normally, by panic, by SIGKILL.
#
# Where the server runs as another account, two shells share the work. The watcher, which is root, keeps to
# the server's directory, which is root's. The helper runs as the account: it signals the server and empties
# the directories that are the account's, so that whatever is in them, it can do no more than the account can.
# The watcher tells it by a line what to do, and waits for a byte that says it is done, or for the end of the
# helper. It takes nothing else from it.
#
# $1 server directory   $2 the program's entry in $1/users   $3 keep | remove   $4 seconds to linger
# $5 alone | watcher | helper
dir=$1 entry=$2 mode=$3 linger=$4 role=$5

# Whether $pid is the server of this directory: a process id alone may have been reused.
alive() {
    [ -n "$pid" ] || return 1
    if [ -d /proc/self ]; then
        [ "/proc/$pid/cwd" -ef "$where/data" ]
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

server_pid() { [ -f "$where/data/postmaster.pid" ] && head -n 1 "$where/data/postmaster.pid" 2>/dev/null; }

# As the account that the server runs as: ends what runs in $where.
halt() {
    # Killed while initdb was at work: it is told to give up, with the servers it runs (its process group).
    if preparing; then
        kill -TERM -- "-$initdb" 2>/dev/null
        ticks=0
        while preparing && [ "$ticks" -lt 100 ]; do
            sleep 0.05
            ticks=$((ticks + 1))
        done
    fi

    pid=$server
    alive || pid=$(server_pid)
    if [ -z "$pid" ] && [ -d "$where/data" ]; then
        # Killed in the middle of a start: the server may be about to write its pid.
        sleep 1
        pid=$(server_pid)
    fi
    if alive; then
        if [ "$mode" = keep ]; then signal=INT; else signal=QUIT; fi
        # It would wait at a pipe for ever, when it writes down there that it stops.
        [ ! -e "$where/data/postmaster.pid" ] || [ -f "$where/data/postmaster.pid" ] || signal=KILL
        kill -"$signal" "$pid" 2>/dev/null
        ticks=0
        while alive && [ "$ticks" -lt 12000 ]; do
            sleep 0.05
            ticks=$((ticks + 1))
            if [ "$mode" = remove ] && [ "$ticks" -eq 200 ]; then kill -KILL "$pid" 2>/dev/null; fi
        done
    fi

    [ -z "$sockets" ] || rm -rf "$sockets/run" "$sockets"/.s.PGSQL.*
}

# As the account: empties its directories in $where.
empty() {
    tries=0
    until emptied || [ "$tries" -ge 100 ]; do
        [ "$tries" -eq 0 ] || sleep 0.1
        tries=$((tries + 1))
        rm -rf "$where"/data "$where"/data.new-* "$where"/run "$where"/.s.PGSQL.*
    done
}

# The directories themselves stay where their parent is root's.
emptied() {
    for one in "$where"/data "$where"/data.new-* "$where"/run; do
        [ -z "$(ls -A "$one" 2>/dev/null)" ] || return 1
    done
}

# Removes what is left here, by commands that remove a file or an empty directory of that very name, or nothing.
clear() {
    rm -f socket/* socket/.s.PGSQL.* .s.PGSQL.*
    rmdir data data.new-* run socket
    for one in *; do
        [ "$one" = buffetbot-db.lock ] || rm -f "./$one"
    done
    # Last, because it lets others in.
    rm -f buffetbot-db.lock
    rmdir "$where"
    # Nothing but that was in the directory that it was moved to.
    case $where in */server) rmdir "${where%/server}" ;; esac
}

where=$dir
if [ "$role" = helper ]; then
    # Nothing comes from a program that is not the last one out.
    read -r initdb server sockets || exit 0
    halt
    echo
    read -r moved || exit 0
    [ "$moved" = - ] || where=$dir.gone-$moved/server
    empty 2>/dev/null
    exit 0
fi
# What comes back is where the error output would go.
[ "$role" = alone ] || exec 3<&2 2>/dev/null
# The helper may have been killed.
trap '' PIPE

# A directory of our own that it stays in, whatever becomes of its name.
cd -P "$dir" && [ -O . ] || exit 0

read -r _

rm -f "users/$entry"
[ "$linger" = 0 ] || sleep "$linger"
# Removes only an empty directory, and only for one caller: this is the decision who is the last one out.
rmdir users 2>/dev/null || exit 0

initdb=$(cat initdb-pid 2>/dev/null)
server=$(cat server-pid 2>/dev/null)
sockets=$(cat socket-dir 2>/dev/null)
case $sockets in */buffetbot-db-s-*) ;; *) sockets= ;; esac
rm -f initdb-pid

if [ "$role" = alone ]; then
    halt
else
    printf '%s %s %s\n' "${initdb:--}" "${server:--}" "$sockets" 2>/dev/null
    dd bs=1 count=1 <&3 >/dev/null 2>&1
fi
if [ -n "$sockets" ]; then
    rm -f "$sockets"/socket/* "$sockets"/socket/.s.PGSQL.* "$sockets"/.s.PGSQL.*
    rmdir "$sockets/socket" "$sockets/run" "$sockets" 2>/dev/null
fi
[ "$mode" = remove ] || exit 0

# Moved first: whoever wants the name next need not wait, and never sees half a directory. Into a directory of
# our own, because the name may be there already, and then another user's.
[ "$dir" -ef . ] || exit 0
moved=-
if mkdir -m 711 "$dir.gone-$$" 2>/dev/null; then
    if mv "$dir" "$dir.gone-$$/server" 2>/dev/null; then
        moved=$$ where=$dir.gone-$$/server
    else
        rmdir "$dir.gone-$$"
    fi
fi
if [ "$role" = alone ]; then
    empty 2>/dev/null
else
    echo "$moved" 2>/dev/null
    cat <&3 >/dev/null 2>&1
fi
clear 2>/dev/null
