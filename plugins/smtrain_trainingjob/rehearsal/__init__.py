"""Executes one CreateTrainingJob request on this machine the way SageMaker would.

`engine.JobRun` is the entry; `request` reads the request, `hosts` and `layout` build what each host sees, `namespaces`,
`folders` and `docker` are three ways to give it to a process, and `outcome` says what came of it.
"""
