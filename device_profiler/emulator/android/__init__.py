"""Programs of the emulated phone's /system/bin that Android has and Debian has not; each file NAME.sh becomes NAME."""
