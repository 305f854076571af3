-- PostgreSQL orders NaN above every number, so it passes a check like price > 0.
-- Infinity needs no check: a NUMERIC with a precision refuses it.
ALTER TABLE portfolios
    ADD CONSTRAINT portfolios_target_cash_percentage_not_nan CHECK (target_cash_percentage <> 'NaN');
ALTER TABLE positions
    ADD CONSTRAINT positions_shares_not_nan CHECK (shares <> 'NaN'),
    ADD CONSTRAINT positions_average_cost_not_nan CHECK (average_cost <> 'NaN'),
    ADD CONSTRAINT positions_allocation_percentage_not_nan CHECK (allocation_percentage <> 'NaN');
ALTER TABLE analysis_results
    ADD CONSTRAINT analysis_results_score_not_nan CHECK (score <> 'NaN'),
    ADD CONSTRAINT analysis_results_confidence_level_not_nan CHECK (confidence_level <> 'NaN'),
    ADD CONSTRAINT analysis_results_data_quality_score_not_nan CHECK (data_quality_score <> 'NaN');
ALTER TABLE market_data_cache
    ADD CONSTRAINT market_data_cache_data_quality_score_not_nan CHECK (data_quality_score <> 'NaN');
ALTER TABLE price_history
    ADD CONSTRAINT price_history_open_price_not_nan CHECK (open_price <> 'NaN'),
    ADD CONSTRAINT price_history_high_price_not_nan CHECK (high_price <> 'NaN'),
    ADD CONSTRAINT price_history_low_price_not_nan CHECK (low_price <> 'NaN'),
    ADD CONSTRAINT price_history_close_price_not_nan CHECK (close_price <> 'NaN'),
    ADD CONSTRAINT price_history_adjusted_close_not_nan CHECK (adjusted_close <> 'NaN');
ALTER TABLE options_data
    ADD CONSTRAINT options_data_strike_price_not_nan CHECK (strike_price <> 'NaN'),
    ADD CONSTRAINT options_data_last_price_not_nan CHECK (last_price <> 'NaN'),
    ADD CONSTRAINT options_data_bid_not_nan CHECK (bid <> 'NaN'),
    ADD CONSTRAINT options_data_ask_not_nan CHECK (ask <> 'NaN'),
    ADD CONSTRAINT options_data_delta_not_nan CHECK (delta <> 'NaN'),
    ADD CONSTRAINT options_data_gamma_not_nan CHECK (gamma <> 'NaN'),
    ADD CONSTRAINT options_data_theta_not_nan CHECK (theta <> 'NaN'),
    ADD CONSTRAINT options_data_vega_not_nan CHECK (vega <> 'NaN'),
    ADD CONSTRAINT options_data_implied_volatility_not_nan CHECK (implied_volatility <> 'NaN');
