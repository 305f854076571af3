-- Recorded inputs cannot be computed again: refuse to lose them.
ALTER TABLE analysis_results ADD CONSTRAINT analysis_results_no_inputs CHECK (inputs IS NULL);

ALTER TABLE analysis_results
    DROP CONSTRAINT analysis_results_no_inputs,
    DROP COLUMN inputs;
