"""What shows each error of the list: folders for command lines, and functions that raise one."""
