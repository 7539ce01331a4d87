#!/system/bin/sh
# input keyevent ...: the emulated phone has no screen; a key changes nothing.
[ "$1" = keyevent ] || { echo "input: unknown command $*" >&2; exit 1; }
