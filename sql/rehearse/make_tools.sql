-- What a rehearsal keeps and asks, made inside its own transaction and rolled back with it. A row is known by the
-- partition and the place that its version has: nothing reuses a place while this transaction runs, and a row that
-- was changed has a new one. So only rows that were touched are ever read whole.

create temp table rehearsed_before (relation oid not null, part oid not null, place tid not null) on commit drop;

-- Notes every row of a relation, at most so many and one more; returns how many it noted.
create function pg_temp.remember_rows(p_relation oid, p_most bigint) returns bigint language plpgsql as $$
declare
  n bigint;
begin
  execute format('insert into pg_temp.rehearsed_before select %s, redress_row.tableoid, redress_row.ctid from %s redress_row limit %s',
                 p_relation, p_relation::regclass, p_most + 1);
  get diagnostics n = row_count;
  return n;
end $$;

-- Rows that are there now and were not: added, or the new version of one that was changed.
create function pg_temp.new_rows(p_relation oid) returns table (part oid, place text, whole text, fields jsonb)
language plpgsql as $$
begin
  return query execute format(
    'select redress_row.tableoid, redress_row.ctid::text, redress_row::text, to_jsonb(redress_row) from %s redress_row
     where not exists (select from pg_temp.rehearsed_before b
       where b.relation = %s and b.part = redress_row.tableoid and b.place = redress_row.ctid)',
    p_relation::regclass, p_relation);
end $$;

-- Rows that were there and are not any more: deleted, or the old version of one that was changed.
create function pg_temp.gone_rows(p_relation oid) returns table (part oid, place text) language plpgsql as $$
begin
  return query execute format(
    'select b.part, b.place::text from pg_temp.rehearsed_before b
     where b.relation = %s and not exists (select from %s redress_row
       where redress_row.tableoid = b.part and redress_row.ctid = b.place)',
    p_relation, p_relation::regclass);
end $$;

-- Rows by their places, for the transaction beside it that still sees what was.
create function pg_temp.rows_at(p_relation oid, p_parts oid[], p_places text[]) returns table (whole text, fields jsonb)
language plpgsql as $$
begin
  return query execute format(
    'select redress_row::text, to_jsonb(redress_row) from unnest($1, $2::tid[]) as at(part, place)
     join %s redress_row on redress_row.tableoid = at.part and redress_row.ctid = at.place', p_relation::regclass)
  using p_parts, p_places;
end $$
