"""The file: the only package that knows apsw and SQL.

`connection` opens it, `migrate` brings it up to date, `queries` loads the named statements,
`writer` commits changes in groups, `reader` reads pages of it, `rows` maps rows to data, `locks`
holds the bytes that say a worker lives, and `store` is the one object the runtime holds.
"""
