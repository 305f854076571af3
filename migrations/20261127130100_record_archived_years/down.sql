DROP TABLE archived_price_years;
