#!/bin/busybox sh
# Mount the root file system that the kernel command line names, and become its init.
export PATH=/bin
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
for module in /modules/*.ko; do
    busybox insmod "$module"
done

root= mode=ro init=/sbin/init
for word in $(busybox cat /proc/cmdline); do
    case $word in
        root=*) root=${word#root=} ;;
        rw) mode=rw ;;
        init=*) init=${word#init=} ;;
    esac
done

# A disk may take a moment to appear; 10 s are plenty even where the processor is emulated.
tries=0
until device=$(busybox findfs "$root" 2>/dev/null) || { [ -b "$root" ] && device=$root; }; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ]; then
        echo "initrd: no disk holds $root; disks are:" && busybox cat /proc/partitions
        busybox poweroff -f
    fi
    busybox sleep 0.1
done

if ! busybox mount -t ext4 -o "$mode" "$device" /root; then
    echo "initrd: cannot mount $device"
    busybox poweroff -f
fi
busybox umount /proc
busybox mount -o move /dev /root/dev
exec busybox switch_root /root "$init"
