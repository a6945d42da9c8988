-- Runs what follows under a role until it is set back; the name is a bound value, never text in SQL.
select set_config('role', $1, true)
