#!/system/bin/sh
# getprop [NAME [DEFAULT]]: the later file and the later line win.
files="/system/build.prop /data/property/persistent"
if [ $# -eq 0 ]; then
  for file in $files; do
    [ -r "$file" ] && while IFS= read -r line; do
      case $line in ''|'#'*) ;; *) echo "[${line%%=*}]: [${line#*=}]" ;; esac
    done < "$file"
  done
  exit 0
fi
value=$2
for file in $files; do
  [ -r "$file" ] && while IFS= read -r line; do
    case $line in "$1="*) value=${line#*=} ;; esac
  done < "$file"
done
echo "$value"
