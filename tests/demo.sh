#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# demo.sh BUILD: the main job on real processes, step by step, each checked.
# Runs in a PID and mount namespace of its own (quickstart demo makes it); all it writes is on file
# systems that go with the namespace.
set -u

build=$1
bin=$build/allocator/cli/uidpool
provision=$build/provision/uidpool-provision
daemon=$build/allocator/daemon/uidpoold

die() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

examples=$(dirname "$0")/../docs/examples

[ -x "$bin" ] || die "$bin is not built"
[ -x "$provision" ] || die "$provision is not built"
[ -x "$daemon" ] || die "$daemon is not built"
[ $$ = 1 ] || [ "${UIDPOOL_TEST_NAMESPACE-}" = 1 ] ||
    die "this kills processes: start it in a PID namespace of its own, as './quickstart demo' does"
mount -t tmpfs -o mode=1777 tmpfs /tmp || die "cannot mount a throw-away /tmp"
dir=/tmp/uidpool-demo
mkdir -m 0700 "$dir" "$dir/config"
umask 022

step=0
# say WHAT IT IS - WHAT IT PROVES
say() {
    step=$((step + 1))
    printf '\n%d. %s\n' "$step" "$1"
}

note() {
    printf '   %s\n' "$*"
}

# run STATUS ARGUMENT...: show the command, run it, show what it says, insist on its exit status.
run() {
    want=$1
    shift
    printf '\n   $ uidpool %s\n' "$*"
    "$bin" --ledger="$dir/ledger.db" --config="$dir/config" "$@" >"$dir/out" 2>"$dir/err"
    judge $?
}

# The same with uidpool-provision, on the system in $dir/image. That has no /proc, without which the
# sanitizers' look for leaks fails.
provision() {
    want=$1
    shift
    printf '\n   $ uidpool-provision --root=image %s\n' "$*"
    ASAN_OPTIONS=detect_leaks=0 "$provision" --root="$dir/image" "$@" >"$dir/out" 2>"$dir/err"
    judge $?
}

# Start the daemon, and go on when it says that it is ready.
serve() {
    printf '\n   $ uidpoold &\n'
    [ -p "$dir/ready" ] || mkfifo "$dir/ready"
    "$daemon" --ledger="$dir/ledger.db" --config="$dir/config" --runtime-dir="$dir/run" \
        --userdb-dir="$dir/userdb" --ready=fd:9 9>"$dir/ready" 2>>"$dir/uidpoold.log" &
    daemon_pid=$!
    read -r _ <"$dir/ready" || die "step $step: uidpoold says $(tail -n 3 "$dir/uidpoold.log")"
}

# call METHOD PARAMETERS: ask the daemon, by the client that is a toolstack's example.
call() {
    printf '\n   $ varlinkctl call /run/uidpool/io.uidpool io.uidpool.%s %s\n' "$1" "'$2'"
    python3 -B -c '
import json, socket, sys
sys.path.insert(0, sys.argv[1])
import lease
with socket.socket(socket.AF_UNIX) as peer:
    peer.connect(sys.argv[2])
    print(json.dumps(lease.call(peer.makefile("rwb"), sys.argv[3], **json.loads(sys.argv[4]))))
' "$examples" "$dir/run/io.uidpool" "io.uidpool.$1" "$2" >"$dir/out" 2>"$dir/err"
    want=0
    judge $?
}

judge() {
    got=$1
    sed 's/^/     /' "$dir/out" "$dir/err"
    [ "$got" = "$want" ] || die "step $step: that exited with $got, not with $want"
    [ "$want" = 0 ] || note "(exit status $got)"
}

# says PATTERN: the last command's output has it.
says() {
    grep -q -e "$1" "$dir/out" "$dir/err" || die "step $step: the answer does not say '$1'"
}

# start N COMMAND...: as the leased uid, cut loose from this shell as a daemon is. Then so many run.
start() {
    run_then=$1
    shift
    printf '\n   $ setpriv --reuid=%s --regid=%s --clear-groups %s &\n' "$uid" "$gid" "$*"
    setsid --fork setpriv --reuid="$uid" --regid="$gid" --clear-groups "$@" \
        </dev/null >/dev/null 2>&1
    tries=0
    until [ "$run_then" = any ] || [ "$(running)" = "$run_then" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 3000 ] || die "step $step: the process did not start"
        sleep 0.01
    done
}

# How many processes have the uid as real uid, zombies not counted.
running() {
    found=0
    for status in /proc/[0-9]*/status; do
        while read -r key value _; do
            case $key in
            State:) [ "$value" != Z ] || break ;;
            Uid:) [ "$value" != "$uid" ] || found=$((found + 1)) ;;
            esac
        done 2>/dev/null <"$status"
    done
    echo "$found"
}

granted() {
    uid=$(cut -d : -f 1 "$dir/out")
    gid=$(cut -d : -f 2 "$dir/out")
}

cat <<END
uidpool's main job. Below, "uidpool" stands for
  $bin --ledger=$dir/ledger.db --config=$dir/config
and $dir is gone when this ends.
END

say "A pool: a range of uids that nobody on this host owns. It makes the ledger, too."
run 0 pool add xen --base=auto --size=32752 --policy=domid --quarantine=5
run 0 pool list
says xen

say "A lease for domain 5. The answer is ready for QEMU's -runas. Asking again gives the same."
run 0 lease --domid=5
granted
first=$uid
run 0 lease --domid=5
granted
[ "$uid" = "$first" ] || die "step $step: asked again, it gave another uid"

say "Real processes as that uid: a plain one, and one that its parent has forgotten."
start 1 sleep 1000
start 4 sh -c 'sleep 1001 & sleep 1002'
run 0 list
says leased
run 0 show "$uid"
says "$uid"
note "running as $uid: $(running)"

say "The domain is destroyed. The release kills, and returns only when two witnesses agree that
   nothing runs as the uid: a walk over /proc, and the kernel's own count of the uid's tasks."
run 0 release --domid=5
says '4 killed'
note "running as $uid: $(running)"
[ "$(running)" = 0 ] || die "step $step: something survived"

say "The evidence is in the ledger: what the witnesses said, and how many were killed."
run 0 history --domid=5
says 'proven .*scan says EMPTY .*census says EMPTY, 4 killed'

say "The uid rests before anybody gets it again; another domain gets another one meanwhile."
run 4 lease --domid=5
run 0 lease --domid=6
granted
[ "$uid" != "$first" ] || die "step $step: two domains got the same uid"

say "What a guest leaves behind would belong to the next one with its uid. So a file in /tmp puts
   the uid on hold, by name, until an administrator has looked."
start any touch /tmp/left-behind
tries=0
until [ -e /tmp/left-behind ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 3000 ] || die "step $step: no file was made"
    sleep 0.01
done
run 0 release --domid=6
run 0 show "$uid"
says held
says /tmp/left-behind
run 4 lease --domid=6
run 4 clear "$uid"
printf '\n   $ rm /tmp/left-behind\n'
rm /tmp/left-behind
run 0 clear "$uid"

say "Rested, the first uid comes back, under a new lease."
tries=0
until "$bin" --ledger="$dir/ledger.db" --config="$dir/config" lease --domid=5 >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || die "step $step: it rests for ever"
    sleep 0.1
done
run 0 lease --domid=5
granted
[ "$uid" = "$first" ] || die "step $step: under the policy domid it must be the same uid"
run 0 who "$uid"

say "Toolstacks in any language ask a socket. The daemon works on the same ledger, beside the command."
serve
call Lease '{"domid":7}'
says '"state": "leased"'
run 0 lease --domid=7
granted
start 1 sleep 1003

say "The daemon is killed. What it has answered is on the disk, and started again it carries on."
printf '\n   $ kill -KILL %s\n' "$daemon_pid"
kill -KILL "$daemon_pid"
wait "$daemon_pid" 2>/dev/null
serve
call Describe "{\"uid\":$uid}"
says '"domid": 7'
note "running as $uid: $(running)"
call Release '{"domid":7}'
says '"tasks_killed": 1'
[ "$(running)" = 0 ] || die "step $step: something survived"
kill -TERM "$daemon_pid"
wait "$daemon_pid" || die "step $step: uidpoold exited with $?"

say "The ledger agrees with itself."
run 0 ledger check

# A system of which nothing runs: a few account files, and libxl's profile linked as an
# administrator would do it.
make_image() {
    profiles=$dir/image/usr/share/uidpool/pools.d
    mkdir -p "$dir/image/var/lib" "$dir/image/etc/uidpool/uidpool.conf.d" "$profiles"
    cp "$(dirname "$0")/../data/pools.d/libxl.conf" "$profiles"
    ln -s /usr/share/uidpool/pools.d/libxl.conf "$dir/image/etc/uidpool/uidpool.conf.d/"
    cd "$dir/image/etc" || die "there is no image"
    printf '%s\n' root:x:0:0:root:/root:/bin/sh alice:x:1000:1000::/home/alice:/bin/sh >passwd
    printf '%s\n' 'root:*:20000:0:99999:7:::' 'alice:!:20000:0:99999:7:::' >shadow
    printf '%s\n' root:x:0: alice:x:1000: >group
    printf '%s\n' 'root:*::' 'alice:!::' >gshadow
    echo alice:100000:65536 | tee subuid >subgid
}

say "Where do pools come from? A package's postinst runs one command, also on an image without a
   /proc: pool, accounts and guards against useradd, all of it or nothing."
(make_image) || die "step $step: cannot make an image"
provision 0 apply
says '+xen-qemuuser-range-base:x:2113929216:'
says '+pool xen-qemuuser: uids 2113929216 to 2113961967'

say "Here a useradd was killed in the middle: bob has no line in shadow and no group, and there is
   its lock. useradd itself would never mend that. The next run does, and then all is well."
echo bob:x:1001:1001::/home/bob:/bin/sh >>"$dir/image/etc/passwd"
: >"$dir/image/etc/passwd.lock"
provision 10 check
provision 0 --quiet apply
provision 0 check
[ ! -s "$dir/out" ] || die "step $step: something is left to be done"
grep -q '^bob:!\*:' "$dir/image/etc/shadow" || die "step $step: bob has no line in shadow"

printf '\nAll %d steps did what they say.\n' "$step"
