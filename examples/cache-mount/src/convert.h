/* Whole degrees, rounded towards zero. */
int fahrenheit(int celsius);
