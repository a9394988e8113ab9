"""Templates and ISOs: kept by the storage VM of each zone, copied between zones, made of volumes."""
