-- Stores a plan: digest, run, basis seq, canonical bytes.
select redress.put_plan($1, $2, $3, $4)
