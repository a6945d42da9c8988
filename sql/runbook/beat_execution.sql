-- Keeps an execution in hands; false when somebody else has it: id, token, lease ms.
select redress.beat_execution($1, $2, $3)
