-- Notes a refusal; true when it is new: run, actor, code, basis.
select redress.note_refusal($1, $2, $3, $4)
