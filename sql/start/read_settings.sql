-- What entering a start sets for its transaction, as it was before.
select current_setting('statement_timeout'), current_setting('lock_timeout'),
       current_setting('idle_in_transaction_session_timeout'), current_setting('TimeZone'), current_setting('DateStyle'),
       current_setting('IntervalStyle'), current_setting('bytea_output'), current_setting('extra_float_digits')
