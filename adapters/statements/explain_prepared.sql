-- Names the explanation that `explain.sql` is to make: the text of a statement which this session has prepared.
-- A parameter bound to EXPLAIN itself would be a constant of the plan, and NULL folds whole branches away.
select pg_catalog.set_config('redress.explain', pg_catalog.format(
  'explain (verbose, costs off, format json) execute %I%s',
  s.name,
  case when pg_catalog.cardinality(s.parameter_types) > 0
       then '(' || pg_catalog.array_to_string(
                     pg_catalog.array_fill('null'::text, array[pg_catalog.cardinality(s.parameter_types)]), ', ') || ')'
       else '' end), true)
from pg_catalog.pg_prepared_statements s
where s.statement = $1 and not s.from_sql
order by s.prepare_time desc
limit 1
