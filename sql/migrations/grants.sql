-- Who may do what. Idempotent; run at the end of every migration. The engine and the operator change rows only
-- through functions; the auditor reads.

revoke all on all functions in schema redress from public;
grant usage on schema redress to redress_engine, redress_operator, redress_sealer, redress_auditor;
grant select on all tables in schema redress to redress_engine, redress_operator, redress_sealer, redress_auditor;

grant execute on function
  redress.now_text(),
  redress.enter_phase(uuid, bigint, text, text, text, int, int, int),
  redress.enter_start(uuid, bytea, text, boolean, text, bytea, text, text, uuid, int, int, int),
  redress.enter_run(uuid, bigint, boolean, int, int, int),
  redress.enter_compensation(uuid, bigint, boolean, text, text, bigint, uuid[], int, int, int),
  redress.append(uuid, bigint, text, bigint, bytea, text, text, bytea[], text, text, int, bigint, boolean, text, text, text, bytea, oid[]),
  redress.put_blob(uuid, uuid, bytea, bytea, bytea),
  redress.put_plan(bytea, uuid, bigint, bytea),
  redress.note_refusal(uuid, text, text, bytea),
  redress.put_definition(bytea, text, int, bytea, text),
  redress.beat(uuid, text, bigint), redress.leave(uuid),
  redress.claim(uuid, int, bytea[], uuid[]), redress.claim_run(uuid, uuid), redress.give_back(uuid, bigint, uuid, bigint),
  redress.enter_system(text, int, int, int), redress.append_system(text, bigint, bytea[]),
  redress.put_hold(uuid, text, text, uuid, text, text, text),
  redress.publish_switch(text, text, text),
  redress.take_subscriber(text, uuid, bigint), redress.keep_position(text, uuid, text), redress.leave_subscriber(text, uuid),
  redress.written_relations()
to redress_engine;

grant execute on function
  redress.now_text(),
  redress.enter_run(uuid, bigint, boolean, int, int, int),
  redress.enter_compensation(uuid, bigint, boolean, text, text, bigint, uuid[], int, int, int),
  redress.append(uuid, bigint, text, bigint, bytea, text, text, bytea[], text, text, int, bigint, boolean, text, text, text, bytea, oid[]),
  redress.put_plan(bytea, uuid, bigint, bytea), redress.put_blob(uuid, uuid, bytea, bytea, bytea),
  redress.note_refusal(uuid, text, text, bytea),
  redress.put_definition(bytea, text, int, bytea, text),
  redress.beat(uuid, text, bigint), redress.leave(uuid), redress.claim_run(uuid, uuid),
  redress.give_back(uuid, bigint, uuid, bigint),
  redress.enter_system(text, int, int, int), redress.append_system(text, bigint, bytea[]),
  redress.put_hold(uuid, text, text, uuid, text, text, text), redress.lift_hold(uuid, text),
  redress.erase_blob(uuid), redress.open_generation(bigint, uuid),
  redress.end_log(bigint, bigint, uuid[], bigint[], bytea[]),
  redress.archivable_runs(timestamptz, bigint), redress.archive_runs(timestamptz, bigint, bytea, bigint),
  redress.publish_switch(text, text, text), redress.drain_gate(int), redress.gate_holders(),
  redress.put_execution(uuid, uuid, text, text, int, bytea, bytea, text),
  redress.take_execution(uuid, uuid, text, bigint), redress.beat_execution(uuid, bigint, bigint),
  redress.leave_execution(uuid, bigint), redress.move_execution(uuid, bigint, text, int, text, int),
  redress.written_relations()
to redress_operator;

-- The clock: whoever only reads is told ages by the server's time.
grant execute on function redress.now_text() to redress_auditor;
grant execute on function redress.now_text() to redress_sealer;

-- Whoever holds the log's key extends the log and does nothing else.
grant execute on function
  redress.take_seal(uuid, text, bigint), redress.leave_seal(uuid), redress.enter_seal(bigint, int, int, int),
  redress.extend_log(bigint, bigint, bigint, bytea, uuid[], bigint[], bytea[], bytea, bytea, bytea, text, text[])
to redress_sealer;
