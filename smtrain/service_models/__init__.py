"""What AWS's service models say of the operations that smtrain calls: one committed document an operation.

`generate_service_models.py` writes the documents from the installed botocore; `model` reads them; `pattern` evaluates
their regular expressions as the service does; `smtrain.api_limits` checks requests against them.
"""
