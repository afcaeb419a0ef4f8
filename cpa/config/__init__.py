"""Configuration: the settings, the YAML file, the live snapshot."""

from cpa.config.load import LoadedConfig, load_config, load_text
from cpa.config.notices import ConfigWarning
from cpa.config.schema import config_schema
from cpa.config.settings import Config
from cpa.config.store import ConfigStore

__all__ = ["Config", "ConfigStore", "ConfigWarning", "LoadedConfig", "config_schema", "load_config", "load_text"]
