#!/system/bin/sh
# taskset MASK COMMAND...: one virtual core runs everything, so a mask of existing cores changes nothing.
while case $1 in -*) true ;; *) false ;; esac; do
  [ "$1" = -p ] && { echo "taskset: -p is not supported by the emulated phone" >&2; exit 1; }
  shift
done
cores=$(( ($(cut -d- -f2 /sys/devices/system/cpu/possible)) + 1 ))
mask=$(( 16#${1#0x} )) || exit 1
[ $mask -gt 0 ] && [ $mask -lt $((1 << cores)) ] || { echo "taskset: no core in mask $1" >&2; exit 1; }
shift
exec "$@"
