#!/system/bin/sh
# settings get|put|delete NAMESPACE KEY [VALUE], as Android prints it: "null" for what is not set.
file=/data/property/settings.$2.$3
case $1 in
  get) if [ -r "$file" ]; then cat "$file"; else echo null; fi ;;
  put) mkdir -p /data/property && echo "$4" > "$file" ;;
  delete) if [ -e "$file" ]; then rm "$file"; echo "Deleted 1 rows"; else echo "Deleted 0 rows"; fi ;;
  *) echo "Invalid command: $1" >&2; exit 1 ;;
esac
