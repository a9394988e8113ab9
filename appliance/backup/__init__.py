"""The management state in one file, and back: database, keys, certificates, settings. Disks of VMs stay."""
