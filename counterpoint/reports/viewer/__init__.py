"""`counterpoint view`: runs and studies below a folder, read while they are written, as pages of a local server.

names       texts as parts of an address, and back
scan        the runs and studies below the folder
tail        lines of a file that grows, is cut or is replaced
look        the files of a run as they are now, from their sizes and times alone
live        a run that is read while it is written
watch       who looks at what, and what changed
guard       who may ask, and the headers of every answer
assets      style sheets and scripts, under names that change with their content
rows        the table of runs
pages       what the server answers
bundle      the same pages as files
"""
