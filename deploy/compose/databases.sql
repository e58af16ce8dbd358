CREATE DATABASE registry OWNER crossfade;
