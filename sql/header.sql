\echo Use "CREATE EXTENSION artery" to load this file. \quit

-- Nothing an ordinary user may have planted is found while this script runs.
SET LOCAL search_path TO pg_catalog, pg_temp;
