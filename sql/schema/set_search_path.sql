-- The search_path of a migration, and that it is one: schema.
select set_config('search_path', $1::text || ', pg_temp', true), set_config($1::text || '.migrating', 'on', true)
