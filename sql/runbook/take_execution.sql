-- Takes an execution in hands; null when somebody else has it: id, owner, name, lease ms.
select token from redress.take_execution($1, $2, $3, $4)
