-- Records are never updated, deleted or truncated. Idempotent; run at the end of every migration and verified by
-- `redress check`. ENABLE ALWAYS, or else `session_replication_role = replica` would pass.
-- No logic by table name: the triggers only refuse.

create or replace function refuse_change() returns trigger language plpgsql set search_path from current as $$
begin
  raise exception '% of % is refused: records are append-only', lower(tg_op), tg_table_name using errcode = 'RDA01';
end $$;

-- Records and plans of a run that was archived may leave; `archived_run` says by which decision.
create or replace function refuse_change_unless_archived() returns trigger
language plpgsql set search_path from current as $$
begin
  if tg_op = 'DELETE' and exists (select from archived_run a where a.run = old.run) then
    return old;
  end if;
  raise exception '% of % is refused: records are append-only', lower(tg_op), tg_table_name using errcode = 'RDA01';
end $$;

create or replace trigger record_is_append_only before update or delete on record
  for each row execute function refuse_change_unless_archived();
create or replace trigger record_is_not_truncated before truncate on record
  for each statement execute function refuse_change();
create or replace trigger plan_is_append_only before update or delete on plan
  for each row execute function refuse_change_unless_archived();
create or replace trigger plan_is_not_truncated before truncate on plan
  for each statement execute function refuse_change();
create or replace trigger definition_is_append_only before update or delete on definition
  for each row execute function refuse_change();
create or replace trigger definition_is_not_truncated before truncate on definition
  for each statement execute function refuse_change();
create or replace trigger decision_used_is_append_only before update or delete on decision_used
  for each row execute function refuse_change();
create or replace trigger decision_used_is_not_truncated before truncate on decision_used
  for each statement execute function refuse_change();
create or replace trigger leaf_is_append_only before update or delete on leaf
  for each row execute function refuse_change();
create or replace trigger leaf_is_not_truncated before truncate on leaf
  for each statement execute function refuse_change();
create or replace trigger checkpoint_is_append_only before update or delete on checkpoint
  for each row execute function refuse_change();
create or replace trigger checkpoint_is_not_truncated before truncate on checkpoint
  for each statement execute function refuse_change();
create or replace trigger archived_run_is_append_only before update or delete on archived_run
  for each row execute function refuse_change();
create or replace trigger archived_run_is_not_truncated before truncate on archived_run
  for each statement execute function refuse_change();

alter table record enable always trigger record_is_append_only;
alter table record enable always trigger record_is_not_truncated;
alter table plan enable always trigger plan_is_append_only;
alter table plan enable always trigger plan_is_not_truncated;
alter table definition enable always trigger definition_is_append_only;
alter table definition enable always trigger definition_is_not_truncated;
alter table decision_used enable always trigger decision_used_is_append_only;
alter table decision_used enable always trigger decision_used_is_not_truncated;
alter table leaf enable always trigger leaf_is_append_only;
alter table leaf enable always trigger leaf_is_not_truncated;
alter table checkpoint enable always trigger checkpoint_is_append_only;
alter table checkpoint enable always trigger checkpoint_is_not_truncated;
alter table archived_run enable always trigger archived_run_is_append_only;
alter table archived_run enable always trigger archived_run_is_not_truncated;
