-- The search_path of a migration: schema.
select set_config('search_path', $1::text || ', pg_temp', true)
