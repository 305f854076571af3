DROP TABLE cache_leases;
