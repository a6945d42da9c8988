-- Puts back what entering a start has set: in the order of read_settings.
select set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true),
       set_config('idle_in_transaction_session_timeout', $3, true), set_config('TimeZone', $4, true),
       set_config('DateStyle', $5, true), set_config('IntervalStyle', $6, true), set_config('bytea_output', $7, true),
       set_config('extra_float_digits', $8, true)
