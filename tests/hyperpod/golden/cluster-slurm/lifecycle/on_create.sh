#!/bin/bash
set -e
python3 lifecycle_script.py
