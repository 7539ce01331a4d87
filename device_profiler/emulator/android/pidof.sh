#!/system/bin/sh
# pidof NAME...: by the process's name; its command line is qemu's here.
ps -A -o PID=,CMD= | {
  found=
  while read -r pid name; do
    for wanted; do [ "$name" = "$wanted" ] && found="$found $pid"; done
  done
  [ -n "$found" ] && echo $found
}
