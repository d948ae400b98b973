"""The command `deploy-manager`: asks a manager's API from anywhere, without Django.

It imports nothing else of deploy_manager, and is installed with the extra `client`.
"""
