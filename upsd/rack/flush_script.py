"""The flush of a NAS as a script for its POSIX shell: BusyBox is enough.

`config/nas/upsd-nas` has the same lines, for a NAS where our key is tied to one command. It tells the flush by the
first line, and runs its own lines in place of those that are sent.
"""

from __future__ import annotations

import shlex
from typing import Final

SCRIPT: Final = """\
# upsd flush
limit=$1
centiseconds() {
    read -r up _ </proc/uptime
    echo $((${up%.*} * 100 + 1${up#*.} - 100))
}
unwritten() {
    kib=0
    while read -r name value _; do
        case $name in Dirty: | Writeback:) kib=$((kib + value)) ;; esac
    done </proc/meminfo
    echo "$kib"
}
# A sync that has ended stays a zombie until it is waited for.
syncing() {
    read -r _ _ state _ <"/proc/$pid/stat" && [ "$state" != Z ]
} 2>/dev/null
began=$(centiseconds)
before=$(unwritten)
# Nothing of ours may hold the SSH session open once the time is over.
sync </dev/null >/dev/null 2>&1 &
pid=$!
rest=no lowest=$before steady=0
while :; do
    if syncing; then ended=no; else ended=yes; fi
    left=$(unwritten)
    spent=$(($(centiseconds) - began))
    if [ $ended = yes ]; then
        steady=$((steady + 1))
        if [ "$left" -lt "$lowest" ]; then lowest=$left steady=0; fi
        if [ "$left" -le 1024 ] || [ $steady -ge 5 ]; then rest=yes; fi
    fi
    if [ $rest = yes ] || [ $spent -ge $((limit * 100)) ]; then break; fi
    sleep 0.2 2>/dev/null || sleep 1
done
if [ $rest = yes ] && ! wait $pid; then
    echo "sync failed" >&2
    exit 1
fi
echo "upsd-flush 1"
echo "before $before"
echo "after $left"
echo "centiseconds $spent"
echo "rest $rest"
echo mdstat
cat /proc/mdstat 2>/dev/null
exit 0
"""
"""Its one argument is for how many whole seconds it may wait. See `flush_figures.parse_flush` for what it prints."""


def flush_command(limit_s: int) -> str:
    """The script as one command for any login shell."""
    return shlex.join(["sh", "-c", SCRIPT, "upsd-flush", str(limit_s)])
