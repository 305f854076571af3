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

CREATE INDEX idx_portfolios_user_id ON portfolios(user_id);
CREATE INDEX idx_portfolios_risk_tolerance ON portfolios(risk_tolerance);
CREATE INDEX idx_portfolios_active ON portfolios(is_active);

COMMENT ON TABLE portfolios IS 'Portfolios of a user; deleted with their owner';
COMMENT ON COLUMN portfolios.id IS 'Key of the portfolio';
COMMENT ON COLUMN portfolios.user_id IS 'The owner';
COMMENT ON COLUMN portfolios.name IS 'Name given by the owner; need not be unique';
COMMENT ON COLUMN portfolios.description IS 'Free text';
COMMENT ON COLUMN portfolios.risk_tolerance IS 'conservative, moderate or aggressive';
COMMENT ON COLUMN portfolios.is_active IS 'FALSE: soft-deleted, kept with its positions and analyses';
COMMENT ON COLUMN portfolios.target_cash_percentage IS 'Share of the portfolio to be held in cash, percent, 0 to 100';
COMMENT ON COLUMN portfolios.created_at IS 'When the portfolio was made';
COMMENT ON COLUMN portfolios.updated_at IS 'Time of the latest change';

COMMENT ON INDEX portfolios_pkey IS 'One portfolio by its id';
COMMENT ON INDEX idx_portfolios_user_id IS 'All portfolios of a user, inactive ones too; deleting the user';
COMMENT ON INDEX idx_portfolios_risk_tolerance IS 'Portfolios by risk tolerance';
COMMENT ON INDEX idx_portfolios_active IS 'Portfolios that are active or not';
