-- "TVAR" in ASCII: tells the job store from every other program's SQLite file.
PRAGMA application_id = 1414938962;
