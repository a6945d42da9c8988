-- Explains what `explain_prepared.sql` named. In a block of its own, so that a statement which cannot be planned
-- (its constants divide by zero, a right is missing) does not end the transaction.
do $$
declare
  plan json;
begin
  execute current_setting('redress.explain') into plan;
  perform set_config('redress.explained', plan::text, true);
exception when others then
  perform set_config('redress.explained', json_build_object('sqlstate', sqlstate, 'message', sqlerrm)::text, true);
end
$$
