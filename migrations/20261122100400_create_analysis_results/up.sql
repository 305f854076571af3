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
    metadata JSONB,
    recommendation VARCHAR(50),
    confidence_level NUMERIC(3,2) CHECK (
        confidence_level >= 0 AND confidence_level <= 1
    ),
    summary TEXT,
    calculated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    parameters JSONB,
    data_quality_score NUMERIC(3,2) CHECK (
        data_quality_score >= 0 AND data_quality_score <= 1
    ),
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL
);

CREATE INDEX idx_analysis_portfolio_ticker ON analysis_results(portfolio_id, ticker);
CREATE INDEX idx_analysis_type ON analysis_results(analysis_type);
CREATE INDEX idx_analysis_calculated_at ON analysis_results(calculated_at);
CREATE INDEX idx_analysis_expires_at ON analysis_results(expires_at);
CREATE INDEX idx_analysis_ticker ON analysis_results(ticker);

COMMENT ON TABLE analysis_results IS 'Results of analyses, kept as history and served as a cache until they expire';
COMMENT ON COLUMN analysis_results.id IS 'Key of the result';
COMMENT ON COLUMN analysis_results.portfolio_id IS 'The portfolio whose private analysis this is; NULL: public, about the ticker alone';
COMMENT ON COLUMN analysis_results.ticker IS 'Market symbol, trimmed and upper case';
COMMENT ON COLUMN analysis_results.analysis_type IS 'One of value, growth, health, risk, options or ecosystem, each followed by _analysis';
COMMENT ON COLUMN analysis_results.strategy IS 'Name of the strategy that the analysis followed';
COMMENT ON COLUMN analysis_results.score IS 'Overall score, 0 to 999.99, higher is better';
COMMENT ON COLUMN analysis_results.metadata IS 'The complete result as a document';
COMMENT ON COLUMN analysis_results.recommendation IS 'Short verdict, such as buy or hold';
COMMENT ON COLUMN analysis_results.confidence_level IS 'Confidence in the result, 0 to 1';
COMMENT ON COLUMN analysis_results.summary IS 'The result in words';
COMMENT ON COLUMN analysis_results.calculated_at IS 'When the result was computed';
COMMENT ON COLUMN analysis_results.expires_at IS 'From when the result is stale; NULL: fresh for ever';
COMMENT ON COLUMN analysis_results.parameters IS 'Parameters of the analysis, enough to run it again; part of the lookup of a cached result';
COMMENT ON COLUMN analysis_results.data_quality_score IS 'Quality of the data that went in, 0 to 1';
COMMENT ON COLUMN analysis_results.created_at IS 'When the row was stored';
COMMENT ON COLUMN analysis_results.updated_at IS 'Time of the latest change';

COMMENT ON INDEX analysis_results_pkey IS 'One result by its id';
COMMENT ON INDEX idx_analysis_portfolio_ticker IS 'Results of a portfolio, by ticker; deleting the portfolio';
COMMENT ON INDEX idx_analysis_type IS 'Results of one type: summaries';
COMMENT ON INDEX idx_analysis_calculated_at IS 'Results by age: invalidation and retention';
COMMENT ON INDEX idx_analysis_expires_at IS 'Sweep of expired results';
COMMENT ON INDEX idx_analysis_ticker IS 'Results of a ticker: invalidation';
