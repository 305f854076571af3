-- The tables as the specification gives them, word for word. The contract test builds them beside the
-- migrated ones; a correction belongs in a migration and in deviations.rs, never here.

CREATE TABLE users (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    email VARCHAR(255) UNIQUE NOT NULL,
    username VARCHAR(100) UNIQUE,
    hashed_password VARCHAR(255) NOT NULL,
    is_active BOOLEAN DEFAULT TRUE NOT NULL,
    is_verified BOOLEAN DEFAULT FALSE NOT NULL,
    first_name VARCHAR(100),
    last_name VARCHAR(100),
    preferences TEXT, -- JSON string for user preferences
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    last_login_at TIMESTAMP WITH TIME ZONE
);

-- Indexes
CREATE INDEX idx_users_email ON users(email);
CREATE INDEX idx_users_username ON users(username);
CREATE INDEX idx_users_active ON users(is_active);

CREATE TABLE portfolios (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id UUID NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    name VARCHAR(255) NOT NULL,
    description TEXT,
    risk_tolerance VARCHAR(50) NOT NULL CHECK (
        risk_tolerance IN ('conservative', 'moderate', 'aggressive')
    ),
    is_active BOOLEAN DEFAULT TRUE NOT NULL,
    target_cash_percentage NUMERIC(5,2) DEFAULT 5.00 CHECK (
        target_cash_percentage >= 0 AND target_cash_percentage <= 100
    ),
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL
);

-- Indexes
CREATE INDEX idx_portfolios_user_id ON portfolios(user_id);
CREATE INDEX idx_portfolios_risk_tolerance ON portfolios(risk_tolerance);
CREATE INDEX idx_portfolios_active ON portfolios(is_active);

CREATE TABLE positions (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    portfolio_id UUID NOT NULL REFERENCES portfolios(id) ON DELETE CASCADE,
    ticker VARCHAR(10) NOT NULL,
    shares NUMERIC(12,4) CHECK (shares >= 0),
    average_cost NUMERIC(12,4) CHECK (average_cost >= 0),
    allocation_percentage NUMERIC(5,2) CHECK (
        allocation_percentage >= 0 AND allocation_percentage <= 100
    ),
    notes TEXT,
    is_active BOOLEAN DEFAULT TRUE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,

    UNIQUE(portfolio_id, ticker)
);

-- Indexes
CREATE INDEX idx_positions_portfolio_id ON positions(portfolio_id);
CREATE INDEX idx_positions_ticker ON positions(ticker);
CREATE INDEX idx_positions_active ON positions(is_active);

CREATE TABLE analysis_results (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    portfolio_id UUID REFERENCES portfolios(id) ON DELETE CASCADE,
    ticker VARCHAR(10) NOT NULL,
    analysis_type VARCHAR(50) NOT NULL CHECK (
        analysis_type IN ('value_analysis', 'growth_analysis', 'health_analysis',
                         'risk_analysis', 'options_analysis', 'ecosystem_analysis')
    ),
    strategy VARCHAR(100),
    score NUMERIC(5,2) CHECK (score >= 0),
    metadata JSONB, -- Complete analysis results
    recommendation VARCHAR(50),
    confidence_level NUMERIC(3,2) CHECK (
        confidence_level >= 0 AND confidence_level <= 1
    ),
    summary TEXT,
    calculated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    parameters JSONB, -- Analysis parameters for reproducibility
    data_quality_score NUMERIC(3,2) CHECK (
        data_quality_score >= 0 AND data_quality_score <= 1
    ),
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL
);

-- Indexes
CREATE INDEX idx_analysis_portfolio_ticker ON analysis_results(portfolio_id, ticker);
CREATE INDEX idx_analysis_type ON analysis_results(analysis_type);
CREATE INDEX idx_analysis_calculated_at ON analysis_results(calculated_at);
CREATE INDEX idx_analysis_expires_at ON analysis_results(expires_at);
CREATE INDEX idx_analysis_ticker ON analysis_results(ticker);

CREATE TABLE market_data_cache (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    ticker VARCHAR(10) NOT NULL,
    data_type VARCHAR(50) NOT NULL,
    data JSONB NOT NULL,
    data_source VARCHAR(50),
    data_quality_score NUMERIC(3,2) CHECK (
        data_quality_score >= 0 AND data_quality_score <= 1
    ),
    cached_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL CHECK (expires_at > cached_at),
    parameters JSONB,

    UNIQUE(ticker, data_type, parameters)
);

-- Indexes
CREATE INDEX idx_market_cache_ticker_type ON market_data_cache(ticker, data_type);
CREATE INDEX idx_market_cache_expires_at ON market_data_cache(expires_at);
CREATE INDEX idx_market_cache_cached_at ON market_data_cache(cached_at);

CREATE TABLE price_history (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    ticker VARCHAR(10) NOT NULL,
    date TIMESTAMP WITH TIME ZONE NOT NULL,
    open_price NUMERIC(12,4) CHECK (open_price > 0),
    high_price NUMERIC(12,4) CHECK (high_price > 0),
    low_price NUMERIC(12,4) CHECK (low_price > 0),
    close_price NUMERIC(12,4) NOT NULL CHECK (close_price > 0),
    volume INTEGER CHECK (volume >= 0),
    adjusted_close NUMERIC(12,4),
    data_source VARCHAR(50) DEFAULT 'yfinance',
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,

    UNIQUE(ticker, date)
);

-- Time-series optimized indexes
CREATE INDEX idx_price_ticker_date ON price_history(ticker, date);
CREATE INDEX idx_price_date_ticker ON price_history(date, ticker);
CREATE INDEX idx_price_ticker_date_desc ON price_history(ticker, date DESC);

CREATE TABLE options_data (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    ticker VARCHAR(10) NOT NULL,
    option_type VARCHAR(4) NOT NULL CHECK (option_type IN ('call', 'put')),
    strike_price NUMERIC(12,4) NOT NULL CHECK (strike_price > 0),
    expiration_date TIMESTAMP WITH TIME ZONE NOT NULL,
    last_price NUMERIC(12,4) CHECK (last_price >= 0),
    bid NUMERIC(12,4) CHECK (bid >= 0),
    ask NUMERIC(12,4) CHECK (ask >= 0),
    volume INTEGER CHECK (volume >= 0),
    open_interest INTEGER CHECK (open_interest >= 0),
    delta NUMERIC(6,4) CHECK (delta >= -1 AND delta <= 1),
    gamma NUMERIC(8,6),
    theta NUMERIC(8,6),
    vega NUMERIC(8,6),
    implied_volatility NUMERIC(6,4) CHECK (implied_volatility >= 0),
    data_source VARCHAR(50) DEFAULT 'yfinance',
    fetch_timestamp TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL
);

-- Options-specific indexes
CREATE INDEX idx_options_ticker_expiration ON options_data(ticker, expiration_date);
CREATE INDEX idx_options_ticker_type_exp ON options_data(ticker, option_type, expiration_date);
CREATE INDEX idx_options_expiration_strike ON options_data(expiration_date, strike_price);
CREATE INDEX idx_options_fetch_timestamp ON options_data(fetch_timestamp);
