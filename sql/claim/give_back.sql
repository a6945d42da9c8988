-- Gives one run back: run, epoch, worker, wait ms.
select redress.give_back($1, $2, $3, $4)
