DROP TABLE options_data;
