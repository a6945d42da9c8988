-- Relations that this transaction has written.
select w from redress.written_relations() w order by w
