#!/system/bin/sh
# setprop NAME VALUE: read-only properties stay.
[ $# -eq 2 ] || { echo "usage: setprop NAME VALUE" >&2; exit 1; }
case $1 in ro.*) echo "Failed to set property '$1' to '$2'." >&2; exit 1 ;; esac
mkdir -p /data/property && echo "$1=$2" >> /data/property/persistent
